//! Rows come back as they went in, in files that every reader understands, whatever the
//! category is called; the same rows give the same bytes.

use super::*;

#[test]
fn every_table_comes_back_as_it_was_written() {
    let out = tempfile::tempdir().unwrap();
    assert!(matches!(
        writer(out.path()).commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap(),
        Committed::Now { .. }
    ));

    let run = reader(out.path());
    let rows = category_rows();
    assert_eq!(run.categories(), ["tile"]);
    assert_eq!(run.rows::<ScoreRow>("tile").unwrap(), rows.scores);
    assert_eq!(run.rows::<MaskRow>("tile").unwrap(), rows.masks);
    assert_eq!(run.rows::<BoxRow>("tile").unwrap(), rows.boxes);
    assert_eq!(run.rows::<FailureRow>("tile").unwrap(), rows.failures);
    assert_eq!(run.rows::<PartialRow>("tile").unwrap(), partials());
    assert_eq!(run.rows::<ScoreRow>("other").unwrap(), []);

    let scores = run.rows::<LabelledScore>("tile").unwrap();
    let expected = rows.scores.into_iter().map(|row| {
        let ScoreRow { score, label, kind, pixel_summary, is_anomalous, .. } = row;
        LabelledScore { score, label, kind, pixel_summary, is_anomalous }
    });
    assert!(expected.eq(scores));
}

#[test]
fn metrics_are_written_after_the_run_and_replaced() {
    let out = tempfile::tempdir().unwrap();
    let writer = writer(out.path());
    writer.commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    writer.finish(&[expected(SHARD, 4)], |_| Ok(Vec::new())).unwrap();
    let run = reader(out.path());
    assert_eq!(run.metrics().unwrap(), []);

    let rows = |figure| {
        let categories = ["tile", ALL_CATEGORIES, MEAN_OF_CATEGORIES];
        let rows = || {
            let crack = MetricsRow { kind: Some("crack".to_string()), ..metrics_row(figure) };
            vec![metrics_row(figure), crack]
        };
        let metrics =
            categories.map(|name| CategoryMetrics { category: name.to_string(), rows: rows() });
        metrics.to_vec()
    };
    for figure in [Some(0.5), None] {
        run.write_metrics(&rows(figure)).unwrap();
        assert_eq!(run.metrics().unwrap(), rows(figure));
    }
    // Finishing again, as a retried worker does, takes nothing away.
    writer.finish(&[expected(SHARD, 4)], |_| Ok(Vec::new())).unwrap();
    assert_eq!(run.metrics().unwrap(), rows(None));
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let outs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let snapshots = outs.each_ref().map(|out| {
        let writer = writer(out.path());
        writer.commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
        writer.finish(&[expected(SHARD, 4)], |_| Ok(Vec::new())).unwrap();
        snapshot(out.path())
    });
    assert!(snapshots[0].contains_key("_SUCCESS"));
    assert_eq!(snapshots[0], snapshots[1]);
}

#[test]
fn categories_may_have_any_name() {
    let out = tempfile::tempdir().unwrap();
    let writer = writer(out.path());
    let names = ["metal nut", "a/b\\..", "süß ☃", "k=v", "100%25", "..", "tab\t#1", "[a]{b}*?"];
    for (i, name) in names.into_iter().enumerate() {
        writer.commit_shard(shard(&i.to_string(), name), || Ok(true)).unwrap();
    }
    let run = reader(out.path());
    let mut sorted = names;
    sorted.sort();
    assert_eq!(run.categories(), sorted);
    for name in names {
        assert_eq!(run.rows::<ScoreRow>(name).unwrap(), category_rows().scores, "{name}");
    }
    let day = out.path().join("scores/run_date=2026-11-24");
    for folder in ["category=metal nut", "category=a%2Fb%5C..", "category=k%3Dv", "category=.."] {
        assert!(day.join(folder).is_dir(), "{folder}");
    }
    for reserved in ["", ALL_CATEGORIES, MEAN_OF_CATEGORIES] {
        let error = writer.commit_shard(shard("x", reserved), || Ok(true)).unwrap_err();
        assert!(matches!(error, TableError::BadName { what: "category", .. }));
    }
}

#[test]
fn files_have_what_readers_look_for() {
    let out = tempfile::tempdir().unwrap();
    writer(out.path()).commit_shard(shard(SHARD, "tile"), || Ok(true)).unwrap();
    let path = "partials/run_date=2026-11-24/category=tile/part-c0ffee-5a17.parquet";
    let file = SerializedFileReader::new(store(out.path()).get(path).unwrap()).unwrap();
    let metadata = file.metadata();
    assert!(metadata.file_metadata().created_by().unwrap().starts_with("filo version "));
    assert_eq!(metadata.file_metadata().key_value_metadata(), None);
    let columns = metadata.row_group(0).columns();
    let names: Vec<&str> = columns.iter().map(|column| column.column_descr().name()).collect();
    assert_eq!(names[..3], ["run_id", "shard_id", "kind"]);
    assert_eq!(names[names.len() - 2..], ["sketch", "image_sketch"]);
    for column in columns {
        assert!(matches!(column.compression(), Compression::ZSTD(_)));
        let is_sketch = ["sketch", "image_sketch"].contains(&column.column_descr().name());
        assert_eq!(column.statistics().is_none(), is_sketch);
    }
}

#[test]
fn maps_get_the_path_that_scores_name() {
    let out = tempfile::tempdir().unwrap();
    let store = store(out.path());
    let (path, bytes) =
        map_npy(SHARD, 7, &[0.5; 9], filo::image::Size::square(3), MapsFormat::F16).unwrap();
    store.put(&path, bytes).unwrap();
    assert_eq!(path, "maps/5a17/7.npy");
    assert_eq!(store.get(&path).unwrap().len(), 128 + 18);
    assert!(map_npy("../x", 7, &[0.5; 9], filo::image::Size::square(3), MapsFormat::F16).is_err());
}

#[test]
fn every_column_is_described() {
    for table in Table::ALL {
        let columns = table.columns();
        assert_eq!(columns[0].name, "run_id");
        assert_eq!(columns.last().unwrap().name, "category");
        for column in columns {
            assert!(column.about.ends_with('.'), "{table:?}.{}", column.name);
        }
    }
}
