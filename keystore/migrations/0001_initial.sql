-- Everything Bucketwarden knows. Names are compared byte by byte (COLLATE "C"): fastest, and the same on
-- every operating system.

CREATE TABLE tenants (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text COLLATE "C" NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Whoever serves a single tenant never meets the word.
INSERT INTO tenants (name) VALUES ('default');

CREATE TABLE buckets (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id    uuid NOT NULL REFERENCES tenants,
    name         text COLLATE "C" NOT NULL,
    backend_name text COLLATE "C" NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

-- A deleted key stays as a tombstone without its secret: the primary key then refuses its id for ever.
CREATE TABLE access_keys (
    access_key_id text COLLATE "C" PRIMARY KEY,
    id            uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    position      bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    seal_version  smallint,
    wrap_nonce    bytea,
    wrapped_key   bytea,
    seal_nonce    bytea,
    sealed_secret bytea,
    access        text NOT NULL CHECK (access IN ('all_buckets', 'buckets')),
    permission    text NOT NULL CHECK (permission IN ('read', 'write', 'read_write')),
    label         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text NOT NULL,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    revoked_by    text,
    revoke_reason text,
    deleted_at    timestamptz,
    deleted_by    text,
    CHECK (CASE WHEN deleted_at IS NULL
                THEN num_nulls(seal_version, wrap_nonce, wrapped_key, seal_nonce, sealed_secret) = 0
                ELSE num_nonnulls(seal_version, wrap_nonce, wrapped_key, seal_nonce, sealed_secret) = 0 END)
);
CREATE INDEX access_keys_of_tenant ON access_keys (tenant_id, position) WHERE deleted_at IS NULL;

-- By bucket id, not by name: deleting a bucket takes its grants along, and a bucket made later under the same
-- name gives nobody anything.
CREATE TABLE key_grants (
    key_id     uuid NOT NULL REFERENCES access_keys (id) ON DELETE CASCADE,
    bucket_id  uuid NOT NULL REFERENCES buckets (id) ON DELETE CASCADE,
    permission text NOT NULL CHECK (permission IN ('read', 'write', 'read_write')),
    PRIMARY KEY (key_id, bucket_id)
);
CREATE INDEX key_grants_on_bucket ON key_grants (bucket_id);

CREATE TABLE operator_tokens (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name         text COLLATE "C" NOT NULL UNIQUE,
    token_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL
);

-- One row. Updating it is the lock under which a change draws its number: the order of numbers is then the
-- order of commits, and a change that is rolled back leaves no gap. (A sequence promises neither.)
CREATE TABLE change_counter (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    number   bigint NOT NULL
);
INSERT INTO change_counter (number) VALUES (0);

CREATE TABLE changes (
    number bigint PRIMARY KEY,
    kind   text NOT NULL CHECK (kind IN ('key', 'grants', 'bucket')),
    target text COLLATE "C" NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);

-- The gateway processes that may be answering from a cache. Rewritten once a second and after every change,
-- hence the low fill factor: such updates then stay within their page.
CREATE TABLE replicas (
    id             uuid PRIMARY KEY,
    name           text NOT NULL,
    beat           bigint NOT NULL,
    applied_change bigint NOT NULL,
    lease_seconds  double precision NOT NULL CHECK (lease_seconds > 0),
    started_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);

-- Written in the transaction of the change it tells about.
CREATE TABLE audit_events (
    id     bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL DEFAULT now(),
    actor  text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);

-- One row: a value sealed under the key-encryption key this database belongs to.
CREATE TABLE canary (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seal_version smallint NOT NULL,
    wrap_nonce   bytea NOT NULL,
    wrapped_key  bytea NOT NULL,
    seal_nonce   bytea NOT NULL,
    sealed_value bytea NOT NULL
);
