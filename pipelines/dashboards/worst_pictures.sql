-- The ten most anomalous pictures of each night and category, with what the network would call it and
-- how much of the picture the mask covers. In: `runs`, a glob of outputs.
SELECT s.run_date, s.category, s.uri, s.score, s.threshold, s.position, s.top_description,
       round(m.area / (s.width::BIGINT * s.height), 4) AS masked_share, s.n_boxes
FROM read_parquet(getvariable('runs') || '/scores/**/*.parquet', hive_partitioning = true, union_by_name = true) AS s
LEFT JOIN read_parquet(getvariable('runs') || '/masks/**/*.parquet', hive_partitioning = true, union_by_name = true) AS m
  USING (run_id, category, image_id)
QUALIFY row_number() OVER (PARTITION BY s.run_date, s.category ORDER BY s.score DESC, s.image_id) <= 10
ORDER BY s.run_date, s.category, s.score DESC, s.image_id;
