"""Carries out S3 calls with boto3: one JSON array [name, ...arguments] per line of standard input,
one JSON value per line of standard output, {"error": ...} when the call failed."""

import json
import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

endpoint, access_key_id, secret_access_key = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="auto",
    aws_access_key_id=access_key_id,
    aws_secret_access_key=secret_access_key,
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
)


def put(bucket, key, file):
    with open(file, "rb") as body:
        s3.put_object(Bucket=bucket, Key=key, Body=body)


def get(bucket, key, file, **options):
    answer = s3.get_object(Bucket=bucket, Key=key, **options)
    body = answer["Body"].read()
    assert answer["ContentLength"] == len(body)
    with open(file, "wb") as target:
        target.write(body)


def get_range(bucket, key, start, end, file):
    get(bucket, key, file, Range=f"bytes={start}-{end - 1}")


def list_keys(bucket, prefix):
    page = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for entry in page["Contents"]]


def put_multipart(bucket, key, file):
    mebibyte = 1024 * 1024
    in_parts = TransferConfig(multipart_threshold=5 * mebibyte, multipart_chunksize=8 * mebibyte)
    s3.upload_file(file, bucket, key, Config=in_parts)


def delete(bucket, key):
    s3.delete_object(Bucket=bucket, Key=key)


for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        result = globals()[name](*arguments)
    except Exception as error:  # whatever it was, the test wants to see it
        result = {"error": repr(error)}
    print(json.dumps(result), flush=True)
