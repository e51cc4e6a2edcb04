//! Nothing that may lie on the disk makes a reader panic or return rows that are not ours.

use super::*;

/// The file of the small shard for one table.
fn part(table: &str) -> String {
    format!("{table}/run_date=2026-11-24/category=tile/part-c0ffee-5a17.parquet")
}

#[test]
fn a_part_of_another_table_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    writer(out.path()).commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    let entry = out.path().join("_filo/ledger/5a17.json");
    let text = std::fs::read_to_string(&entry).unwrap();
    std::fs::write(&entry, text.replace("\"table\": \"boxes\"", "\"table\": \"masks\"")).unwrap();
    let message = reader(out.path()).rows::<MaskRow>("tile").unwrap_err().to_string();
    assert!(message.contains("\"height\""), "{message}");
    assert!(message.contains(&part("boxes")), "{message}");
}

#[test]
fn a_missing_part_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    writer(out.path()).commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    std::fs::remove_file(out.path().join(part("masks"))).unwrap();
    let message = reader(out.path()).rows::<MaskRow>("tile").unwrap_err().to_string();
    assert!(message.contains("is missing"), "{message}");
}

#[test]
fn a_cut_or_changed_part_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    writer(out.path()).commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    let path = out.path().join(part("partials"));
    let whole = std::fs::read(&path).unwrap();
    let run = reader(out.path());
    let must_fail = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let message = run.rows::<PartialRow>("tile").unwrap_err().to_string();
        assert!(message.contains("was changed after its commit"), "{message}");
    };
    for position in 0..whole.len() {
        must_fail(&whole[..position]);
        let mut changed = whole.clone();
        changed[position] ^= 1;
        must_fail(&changed);
    }
}

#[test]
fn a_damaged_ledger_or_manifest_is_named() {
    let out = tempfile::tempdir().unwrap();
    writer(out.path()).commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    for file in ["_filo/ledger/5a17.json", "_filo/manifest.json"] {
        std::fs::write(out.path().join(file), "{\"format\": 2, ").unwrap();
        let error = RunReader::open(store(out.path())).unwrap_err();
        assert!(matches!(error, TableError::BadJson { .. }));
        assert!(error.to_string().contains(file), "{error}");
    }
}
