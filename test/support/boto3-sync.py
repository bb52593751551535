"""Makes a bucket as a folder is, or a folder as a bucket is: endpoint, up or down, bucket, folder."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

endpoint, direction, bucket, folder = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="auto",
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, max_pool_connections=8),
)


def local_files():
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(parent, name), folder)


def remote_keys():
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            yield entry["Key"]


def download(key):
    target = os.path.join(folder, key)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    s3.download_file(bucket, key, target)


def upload(key):
    s3.upload_file(os.path.join(folder, key), bucket, key)


here, there = set(local_files()), set(remote_keys())
with ThreadPoolExecutor(4) as pool:
    if direction == "up":
        list(pool.map(upload, here))
        gone = [{"Key": key} for key in there - here]
        for start in range(0, len(gone), 1000):
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": gone[start : start + 1000]})
            assert not answer.get("Errors"), answer["Errors"]
    else:
        list(pool.map(download, there))
        for key in here - there:
            os.remove(os.path.join(folder, key))
