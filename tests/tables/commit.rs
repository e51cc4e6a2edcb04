//! A run is committed once: another is refused, a killed one resumes to the same files, and the
//! end of a run counts what is there.

use super::*;

#[test]
fn another_run_is_refused_and_the_differences_are_named() {
    let out = tempfile::tempdir().unwrap();
    writer(out.path());
    let other = RunIdentity {
        run_id: "beef".to_string(),
        spec: json!({"layout": "mvtec", "mask": {"threshold": 0.6}, "strict": true}),
        ..identity()
    };
    let message = RunWriter::open(store(out.path()), other).unwrap_err().to_string();
    for part in [
        "mask.threshold: 0.5 → 0.6",
        "strict: not set → true",
        "weights: \"nano\" → not set",
        "choose another --output",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("layout"), "{message}");

    let same_spec = RunIdentity { run_id: "beef".to_string(), ..identity() };
    let message = RunWriter::open(store(out.path()), same_spec).unwrap_err().to_string();
    assert!(message.contains("the input listing or the weights changed"), "{message}");
}

#[test]
fn a_folder_with_foreign_files_is_refused() {
    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("thesis.pdf"), "x").unwrap();
    let error = RunWriter::open(store(out.path()), identity()).unwrap_err();
    assert!(matches!(error, TableError::ForeignFiles { .. }));
    assert!(error.to_string().contains("thesis.pdf"), "{error}");
    let error = RunReader::open(store(out.path())).unwrap_err();
    assert!(matches!(error, TableError::NoRun { .. }));
}

#[test]
fn a_resumed_run_keeps_its_day_and_knows_what_is_committed() {
    let out = tempfile::tempdir().unwrap();
    writer(out.path()).commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    let next_day = RunIdentity { run_date: identity().run_date.succ_opt().unwrap(), ..identity() };
    let resumed = RunWriter::open(store(out.path()), next_day).unwrap();
    assert_eq!(resumed.manifest().run_date, identity().run_date);
    assert!(resumed.committed(SHARD).is_some());
    assert!(resumed.committed("other").is_none());
}

#[test]
fn a_second_commit_of_a_shard_changes_nothing() {
    let out = tempfile::tempdir().unwrap();
    let (first, second) = (writer(out.path()), writer(out.path()));
    assert!(matches!(
        first.commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap(),
        Committed::Now { .. }
    ));
    let before = snapshot(out.path());
    let mut late = shard(SHARD, "tile");
    late.categories.values_mut().for_each(|rows| rows.scores[0].ms_infer = 99.0);
    assert_eq!(second.commit_shard(late, || Ok(true)).unwrap(), Committed::AlreadyByAnother);
    assert_eq!(snapshot(out.path()), before);
}

#[test]
fn of_racing_workers_one_commits_and_the_files_are_those_of_the_ledger() {
    for _ in 0..8 {
        let out = tempfile::tempdir().unwrap();
        let worker = |i: u8| {
            let mut rows = shard(SHARD, "tile");
            let scores = rows.categories.values_mut().flat_map(|rows| &mut rows.scores);
            scores.for_each(|row| row.ms_infer = f32::from(i));
            writer(out.path()).commit_shard(rows, || Ok(true)).unwrap()
        };
        let outcomes: Vec<Committed> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8).map(|i| scope.spawn(move || worker(i))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(
            outcomes.iter().filter(|outcome| matches!(outcome, Committed::Now { .. })).count(),
            1
        );
        let scores = reader(out.path()).rows::<ScoreRow>("tile").unwrap();
        assert!(scores.iter().map(|row| &row.image_id).eq(["b.png", "a.png", "c.png"]));
    }
}

#[test]
fn a_run_killed_before_its_ledger_entry_resumes_to_the_same_files() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let entry = format!("_filo/ledger/{SHARD}.json");
    writer(whole.path()).commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();

    // Killed after the parts of a slower attempt, in which one more image could not be read.
    let mut attempt = shard(SHARD, "tile");
    attempt.categories.insert("late".to_string(), category_rows());
    writer(killed.path()).commit_shard(attempt, || Ok(true)).unwrap();
    std::fs::remove_file(killed.path().join(&entry)).unwrap();
    assert!(reader(killed.path()).categories().is_empty());

    let resumed = writer(killed.path());
    assert!(resumed.committed(SHARD).is_none());
    let mut retry = shard(SHARD, "tile");
    retry.categories.insert("late".to_string(), CategoryRows::default());
    assert!(matches!(resumed.commit_shard(retry, || Ok(true)).unwrap(), Committed::Now { .. }));
    assert_eq!(snapshot(killed.path()), snapshot(whole.path()));
}

#[test]
fn finish_names_the_shard_that_is_missing() {
    let out = tempfile::tempdir().unwrap();
    let writer = writer(out.path());
    writer.commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    let error =
        writer.finish(&[expected(SHARD, 4), expected("dead", 1)], |_| Ok(Vec::new())).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, TableError::MissingShards { expected: 2, .. }));
    assert!(message.contains("1 of 2 shards are not committed (dead): "), "{message}");
    assert!(!out.path().join("_SUCCESS").exists());
    assert_eq!(reader(out.path()).manifest().totals, None);
}

#[test]
fn a_reader_names_the_shards_of_the_listing_that_are_missing() {
    let out = tempfile::tempdir().unwrap();
    let mut shards = vec![SHARD.to_string()];
    shards.extend((0..10).map(|n| format!("dead{n}")));
    let identity = RunIdentity { shards, ..identity() };
    let writer = RunWriter::open(store(out.path()), identity).unwrap();
    writer.commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    let message = reader(out.path()).check_shards_are_there().unwrap_err().to_string();
    assert!(message.starts_with("10 of 11 shards are not committed (dead0, dead1, "), "{message}");
    assert!(message.contains("dead7 and 2 more): "), "{message}");
    for n in 0..10 {
        writer.commit_shard(shard(&format!("dead{n}"), "tile"), || Ok(true)).unwrap();
    }
    reader(out.path()).check_shards_are_there().unwrap();
}

#[test]
fn finish_names_the_shard_whose_pictures_do_not_add_up() {
    let out = tempfile::tempdir().unwrap();
    let writer = writer(out.path());
    writer.commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    let message = writer.finish(&[expected(SHARD, 5)], |_| Ok(Vec::new())).unwrap_err().to_string();
    assert!(message.starts_with("shard 5a17: 5 images listed, but 3 scores"), "{message}");
}

#[test]
fn finish_names_a_part_that_was_deleted() {
    let out = tempfile::tempdir().unwrap();
    let writer = writer(out.path());
    writer.commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    std::fs::remove_dir_all(out.path().join("boxes")).unwrap();
    let error = writer.finish(&[expected(SHARD, 4)], |_| Ok(Vec::new())).unwrap_err();
    assert!(matches!(error, TableError::PartGone { .. }));
    assert!(error.to_string().contains("boxes/run_date=2026-11-24/category=tile/"), "{error}");
}

#[test]
fn a_finished_run_adds_up_and_every_table_opens() {
    let out = tempfile::tempdir().unwrap();
    let writer = writer(out.path());
    writer.commit_shard(shard("1", "tile"), || Ok(true)).unwrap();
    let mut without_masks = shard("2", "cable");
    without_masks.categories.values_mut().for_each(|rows| rows.masks.clear());
    writer.commit_shard(without_masks, || Ok(true)).unwrap();
    let manifest =
        writer.finish(&[expected("1", 4), expected("2", 4)], |_| Ok(Vec::new())).unwrap();

    assert_eq!(*reader(out.path()).manifest(), manifest);
    let totals = manifest.totals.unwrap();
    assert_eq!((totals.shards, totals.entries), (2, 8));
    assert_eq!((totals.rows_of(Table::Scores), totals.rows_of(Table::Failures)), (6, 2));
    assert_eq!(totals.rows[&Table::Masks], BTreeMap::from([("tile".to_string(), 1)]));
    for table in Table::ALL {
        assert!(!store(out.path()).list(table.as_str()).unwrap().is_empty(), "{table:?}");
    }
    // Nothing fell into metrics: an empty part in the first category stands for it.
    let empty = "metrics/run_date=2026-11-24/category=cable/part-c0ffee-all.parquet";
    let file = SerializedFileReader::new(store(out.path()).get(empty).unwrap()).unwrap();
    assert_eq!(file.metadata().file_metadata().num_rows(), 0);
    let in_folder_names = 2;
    let columns = Table::Metrics.columns().len() - in_folder_names;
    assert_eq!(file.metadata().file_metadata().schema().get_fields().len(), columns);
}

#[test]
fn a_run_without_pictures_finishes() {
    let out = tempfile::tempdir().unwrap();
    writer(out.path()).finish(&[], |_| Ok(Vec::new())).unwrap();
    assert_eq!(snapshot(out.path()).len(), 3 + Table::ALL.len());
}
