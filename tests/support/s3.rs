//! The S3 server that `scripts/test` starts.

/// An empty folder of its bucket, `s3://…/<name>-<number>`.
pub fn bucket_folder(name: &str) -> String {
    let bucket = std::env::var("FILO_TEST_BUCKET").expect(
        "no S3 server: run scripts/test, or this command by scripts/s3_server.py COMMAND …",
    );
    let name = name.replace(' ', "-");
    format!("{bucket}/{name}-{}", fastrand::u64(..))
}
