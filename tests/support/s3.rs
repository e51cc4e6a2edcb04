//! The S3 server that `scripts/test` starts.

use std::path::Path;
use std::process::Command;

use filo::store::{Location, Store};
use object_store::aws::AmazonS3Builder;
use object_store::{Attribute, ObjectStoreExt};

/// The variables by which a client finds the server.
pub const VARIABLES: [&str; 4] =
    ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];

/// `command` with the variables of the server, which the test's environment has.
pub fn with_server(mut command: Command) -> Command {
    for name in VARIABLES {
        command.env(name, std::env::var(name).expect("scripts/s3_server.py sets it"));
    }
    command
}

/// Copies all files below `folder` into the folder of the bucket at `uri`.
pub fn upload(folder: &Path, uri: &str) {
    let store = Store::open(&uri.parse::<Location>().unwrap()).unwrap();
    for file in walkdir::WalkDir::new(folder) {
        let file = file.unwrap();
        if file.file_type().is_file() {
            let below = file.path().strip_prefix(folder).unwrap();
            store.put(below.to_str().unwrap(), std::fs::read(file.path()).unwrap()).unwrap();
        }
    }
}

/// An empty folder of its bucket, `s3://…/<name>-<number>`.
pub fn bucket_folder(name: &str) -> String {
    let bucket = std::env::var("FILO_TEST_BUCKET").expect(
        "no S3 server: run scripts/test, or this command by scripts/s3_server.py COMMAND …",
    );
    let name = name.replace(' ', "-");
    format!("{bucket}/{name}-{}", fastrand::u64(..))
}

/// What the server tells a browser about the object at `uri`.
pub fn content_type(uri: &str) -> String {
    // Opening a store sets up what connections need.
    Store::open(&uri.parse::<Location>().unwrap()).unwrap();
    let (bucket, path) = uri.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let server = AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(true);
    let server = server.build().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let object = runtime.block_on(server.get(&path.into())).unwrap();
    object.attributes.get(&Attribute::ContentType).map_or(String::new(), |kind| kind.to_string())
}
