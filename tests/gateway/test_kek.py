"""Where the key-encryption key comes from."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.kek import load_kek
from keystore.model import Invalid


def embedded(directory: Path) -> Config:
    return Config.load(None, {"BUCKETWARDEN_EMBEDDED__DIRECTORY": str(directory)})


def test_the_settings_come_first(tmp_path: Path) -> None:
    kek = bytes(range(32))
    environ = {
        "BUCKETWARDEN_KEYS__KEK": base64.b64encode(kek).decode(),
        "BUCKETWARDEN_EMBEDDED__DIRECTORY": str(tmp_path),
    }
    assert load_kek(Config.load(None, environ)) == kek
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_one_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    directory = tmp_path / "var"
    kek = load_kek(embedded(directory))
    assert len(kek) == 32
    assert [path.name for path in directory.iterdir()] == ["kek"]
    assert (directory / "kek").stat().st_mode & 0o777 == 0o600
    assert load_kek(embedded(directory)) == kek


def test_several_that_start_at_once_agree(tmp_path: Path) -> None:
    config = embedded(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: load_kek(config), range(8)))) == 1


def test_a_damaged_file_is_refused_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "kek").write_text("hunter2")
    with pytest.raises(Invalid) as caught:
        load_kek(embedded(tmp_path))
    assert "hunter2" not in str(caught.value)
    assert (tmp_path / "kek").read_text() == "hunter2"
