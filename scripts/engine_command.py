"""Runs the command of a job file of a scheduler as the scheduler would: here, with a local S3 server
in the place of the bucket.

The buckets that the files name become folders of the test's bucket, and the weights those of the tests.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import boto3
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "assets/nano/bundle"
NIGHT = "2026-11-24"
IMAGES = 6


class Rehearsal:
    """A bucket that holds what the job files read, and a folder for what a container has of its own."""

    def __init__(self, program: str):
        self.program = Path(program).resolve()
        self.bucket = os.environ["FILO_TEST_BUCKET"].removeprefix("s3://").split("/")[0]
        self.folder = Path(tempfile.mkdtemp())
        self.client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        (self.folder / "bin").mkdir()
        (self.folder / "bin/filo").symlink_to(self.program)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        shutil.rmtree(self.folder)

    def moved(self, text: str) -> str:
        """`text` with places of the test's bucket for those of the files."""
        for name in ["archive", "scores", "models"]:
            text = text.replace(f"s3://{name}/", f"s3://{self.bucket}/{self.folder.name}/{name}/")
        return text

    def _put(self, uri: str, file: Path):
        key = self.moved(uri).removeprefix(f"s3://{self.bucket}/")
        self.client.upload_file(str(file), self.bucket, key)

    def fill(self):
        """Puts labelled images of one night, and weights, where the job files look for them."""
        for number in range(IMAGES):
            kind = "crack" if number == 0 else "good"
            image = Image.new("RGB", (48, 40), (120, 130, 90 + 10 * number))
            file = self.folder / "image.png"
            image.save(file)
            self._put(f"s3://archive/line-4/{NIGHT}/nut/test/{kind}/{number}.png", file)
        mask = Image.new("L", (48, 40))
        mask.paste(255, (4, 4, 20, 20))
        mask.save(file)
        self._put(f"s3://archive/line-4/{NIGHT}/nut/ground_truth/crack/0_mask.png", file)
        for file in sorted(BUNDLE.iterdir()):
            self._put(f"s3://models/filo/{file.name}", file)

    def run(self, command: list[str], variables: dict[str, str], name: str) -> str:
        """What the command printed; ends the script if it does not end with 0."""
        environment = {
            key: value for key, value in os.environ.items() if key.startswith("AWS_")
        } | {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "FILO_CACHE": str(self.folder / "cache"),
            "HOME": str(self.folder),
        } | variables
        command = [self.moved(part) for part in command]
        ended = subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        if ended.returncode != 0:
            raise SystemExit(f"{name}: {command} ended with {ended.returncode}\n{ended.stderr}")
        return ended.stdout

    def expect_success(self, night: str, name: str):
        """Ends the script unless the run of that night is whole."""
        prefix = self.moved(f"s3://scores/line-4/{night}/").removeprefix(f"s3://{self.bucket}/")
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        keys = [entry["Key"].removeprefix(prefix) for entry in listed.get("Contents", [])]
        if "_SUCCESS" not in keys:
            raise SystemExit(f"{name}: no _SUCCESS among {keys}")
