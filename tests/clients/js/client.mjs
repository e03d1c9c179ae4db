// aws-sdk-js v3, spoken to by tests/clients/client.py: one JSON request a line in, one answer a line out.

import { createReadStream, createWriteStream, readFileSync, statSync } from "node:fs";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

// Virtual hosts are known to no resolver.
const lookup = (_host, options, done) =>
  options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);

let client;
const send = (Command, input) => client.send(new Command(input));
const where = (ask) => ({ Bucket: ask.bucket, Key: ask.key });

const operations = {
  open(ask) {
    const url = new URL(ask.url);
    if (ask.suffix) url.hostname = ask.suffix;
    client = new s3.S3Client({
      endpoint: url.href,
      region: ask.region,
      credentials: { accessKeyId: ask.access_key, secretAccessKey: ask.secret_key },
      forcePathStyle: !ask.suffix,
      maxAttempts: 1,
      requestHandler: { httpAgent: new HttpAgent({ lookup }), httpsAgent: new HttpsAgent({ lookup }) },
    });
  },

  // A buffer: its hash is known before the head is sent.
  put: (ask) => send(s3.PutObjectCommand, { ...where(ask), Body: readFileSync(ask.file) }),

  // A stream with a length: the body is signed as a stream, its checksum follows in the trailer.
  put_file: (ask) =>
    send(s3.PutObjectCommand, { ...where(ask), Body: createReadStream(ask.file), ContentLength: statSync(ask.file).size }),

  // A stream without a length. Upload collects parts of at least 5 MiB from it.
  stream: (ask) =>
    new Upload({ client, params: { ...where(ask), Body: createReadStream(ask.file).pipe(new PassThrough()) } }).done(),

  // The same without Upload: one PutObject whose length nobody knows.
  put_unsized: (ask) =>
    send(s3.PutObjectCommand, { ...where(ask), Body: createReadStream(ask.file).pipe(new PassThrough()) }),

  upload: (ask) => new Upload({ client, params: { ...where(ask), Body: createReadStream(ask.file) } }).done(),

  async get(ask) {
    try {
      const found = await send(s3.GetObjectCommand, {
        ...where(ask),
        Range: ask.range,
        IfNoneMatch: ask.if_none_match,
      });
      await pipeline(found.Body, createWriteStream(ask.file));
    } catch (error) {
      if (error.$metadata?.httpStatusCode === 304) return "not modified";
      throw error;
    }
  },

  async keys(ask) {
    const keys = [];
    const pages = s3.paginateListObjectsV2({ client, pageSize: 5 }, { Bucket: ask.bucket, Prefix: ask.prefix });
    for await (const page of pages) keys.push(...(page.Contents ?? []).map((found) => found.Key));
    return keys;
  },

  delete: (ask) => send(s3.DeleteObjectCommand, where(ask)),

  async delete_many(ask) {
    const listed = ask.keys.map((Key) => ({ Key }));
    const { Errors } = await send(s3.DeleteObjectsCommand, { Bucket: ask.bucket, Delete: { Objects: listed } });
    if (Errors?.length) throw new Error(JSON.stringify(Errors));
  },

  copy: (ask) =>
    send(s3.CopyObjectCommand, {
      ...where(ask),
      CopySource: `${ask.source_bucket}/${ask.source_key.split("/").map(encodeURIComponent).join("/")}`,
    }),

  async buckets() {
    return (await send(s3.ListBucketsCommand, {})).Buckets.map((bucket) => bucket.Name);
  },

  async has_bucket(ask) {
    try {
      await send(s3.HeadBucketCommand, { Bucket: ask.bucket });
      return true;
    } catch (error) {
      if (error.$metadata?.httpStatusCode === 404) return false;
      throw error;
    }
  },

  presign_get: (ask) => getSignedUrl(client, new s3.GetObjectCommand(where(ask)), { expiresIn: 60 }),
  presign_put: (ask) => getSignedUrl(client, new s3.PutObjectCommand(where(ask)), { expiresIn: 60 }),
};

const values = new Set(["get", "keys", "buckets", "has_bucket", "presign_get", "presign_put"]);

for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line);
  let answer;
  try {
    const value = await operations[ask.op](ask);
    answer = { value: values.has(ask.op) ? value : null };
  } catch (error) {
    answer = { error: `${error.$metadata?.httpStatusCode ?? ""} ${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
