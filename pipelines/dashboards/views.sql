-- DuckDB views over one run of `filo score` or many. In: the variable `runs`, an output folder or a glob
-- of several, on a disk or in a bucket. The tables are read when a view is, so new nights need nothing.
--
--   runs             one row per output folder
--   scores           one row per scored image: the tables' columns, flags filled in
--   failures         one row per image that could not be scored
--   masks            one row per predicted mask
--   nights           one row per night and category: counts, flagged share, quantiles of scores
--   drift            one row per night and category that has earlier nights: how far its scores moved
--   failures_by_code one row per night, category, code and stage
--   worst_images     the ten highest scores of each night and category
--   descriptions     how often a description was the best match of a flagged image
--
-- Of an image that several runs have, the newest outcome counts, as in `filo metrics --run`: the run
-- with the later date, of one day the one whose name is last. `all_scores` and `all_failures` have the
-- other rows too, and `nights`, `drift` and `failures_by_code` count them: what a night has found stays.

-- By a pattern, as the tables are: DuckDB then writes the names of their folders alike.
CREATE OR REPLACE VIEW runs AS
SELECT split_part(filename, '/_filo/manifest', 1) AS run, run_id, run_date,
       rtrim(coalesce(spec->>'input_root', spec->>'input'), '/') AS input
FROM read_json(rtrim(getvariable('runs'), '/') || '/_filo/manifest*.json', filename = true,
               columns = {'run_id': 'VARCHAR', 'run_date': 'DATE', 'spec': 'JSON'});

-- A row does not say whether its image is flagged if that was known only after the last image: then
-- the threshold of its run and category does.
CREATE OR REPLACE VIEW all_scores AS
WITH parts AS (
  SELECT * EXCLUDE (filename, pixel_summary, true_mask), split_part(filename, '/scores/run_date=', 1) AS run
  FROM read_parquet(rtrim(getvariable('runs'), '/') || '/scores/**/*.parquet', filename = true,
                    union_by_name = true, hive_types = {'run_date': DATE, 'category': VARCHAR})
), thresholds AS (
  SELECT category, threshold AS threshold_of_run, split_part(filename, '/thresholds/run_date=', 1) AS run
  FROM read_parquet(rtrim(getvariable('runs'), '/') || '/thresholds/**/*.parquet', filename = true,
                    union_by_name = true, hive_types = {'run_date': DATE, 'category': VARCHAR})
)
SELECT parts.* REPLACE (coalesce(is_anomalous, score > threshold_of_run) AS is_anomalous,
                        coalesce(threshold, threshold_of_run) AS threshold), runs.input
FROM parts JOIN runs USING (run) LEFT JOIN thresholds USING (run, category);

CREATE OR REPLACE VIEW all_failures AS
WITH parts AS (
  SELECT * EXCLUDE filename, split_part(filename, '/failures/run_date=', 1) AS run
  FROM read_parquet(rtrim(getvariable('runs'), '/') || '/failures/**/*.parquet', filename = true,
                    union_by_name = true, hive_types = {'run_date': DATE, 'category': VARCHAR})
)
SELECT parts.*, runs.input FROM parts JOIN runs USING (run);

-- An image is the same if its name and the input of the run are.
CREATE OR REPLACE VIEW newest_outcomes AS
SELECT input, image_id, max((run_date, run)) AS newest
FROM (SELECT input, image_id, run_date, run FROM all_scores
      UNION ALL SELECT input, image_id, run_date, run FROM all_failures)
GROUP BY input, image_id;

CREATE OR REPLACE VIEW scores AS
SELECT s.* FROM all_scores AS s
SEMI JOIN newest_outcomes AS n
  ON s.input = n.input AND s.image_id = n.image_id AND (s.run_date, s.run) = n.newest;

CREATE OR REPLACE VIEW failures AS
SELECT f.* FROM all_failures AS f
SEMI JOIN newest_outcomes AS n
  ON f.input = n.input AND f.image_id = n.image_id AND (f.run_date, f.run) = n.newest;

CREATE OR REPLACE VIEW masks AS
WITH parts AS (
  SELECT * EXCLUDE filename, split_part(filename, '/masks/run_date=', 1) AS run
  FROM read_parquet(rtrim(getvariable('runs'), '/') || '/masks/**/*.parquet', filename = true,
                    union_by_name = true, hive_types = {'run_date': DATE, 'category': VARCHAR})
)
SELECT parts.*, scores.uri, scores.score, scores.is_anomalous
FROM parts JOIN scores USING (run, category, image_id);

-- Nothing is lost: scored + failed = images.
CREATE OR REPLACE VIEW nights AS
SELECT run_date, category, count(*) AS images, count(score) AS scored, count(*) - count(score) AS failed,
       count(*) FILTER (is_anomalous) AS flagged, round(flagged / nullif(scored, 0), 4) AS flagged_share,
       median(score) AS median_score, quantile_cont(score, 0.99) AS p99_score, avg(ms_infer) AS ms_infer
FROM (SELECT run_date, category, score, is_anomalous, ms_infer FROM all_scores
      UNION ALL SELECT run_date, category, NULL, NULL, NULL FROM all_failures)
GROUP BY run_date, category;

-- Population stability index of the scores of a night against those of all earlier nights of the
-- category, in ten bins of equal counts of the earlier ones: above 0.1 something moved, above 0.25 look
-- at it.
CREATE OR REPLACE VIEW drift AS
WITH edges AS (
  SELECT n.run_date, n.category,
         quantile_cont(s.score, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS edges
  FROM nights AS n JOIN all_scores AS s ON s.category = n.category AND s.run_date < n.run_date
  WHERE n.scored > 0
  GROUP BY ALL
), binned AS (
  SELECT e.run_date, e.category, s.run_date = e.run_date AS tonight,
         len(list_filter(e.edges, lambda edge: edge < s.score)) AS bin
  FROM edges AS e JOIN all_scores AS s ON s.category = e.category AND s.run_date <= e.run_date
), shares AS (
  SELECT run_date, category, bin.bin,
         -- Half an image more in each bin, so that empty ones have a logarithm.
         (count(*) FILTER (b.tonight AND b.bin = bin.bin) + 0.5)
           / (count(*) FILTER (b.tonight) + 5) AS tonight,
         (count(*) FILTER (NOT b.tonight AND b.bin = bin.bin) + 0.5)
           / (count(*) FILTER (NOT b.tonight) + 5) AS earlier
  FROM binned AS b CROSS JOIN range(10) AS bin(bin)
  GROUP BY ALL
)
SELECT run_date, category, sum((tonight - earlier) * ln(tonight / earlier)) AS psi
FROM shares
GROUP BY run_date, category;

CREATE OR REPLACE VIEW failures_by_code AS
SELECT run_date, category, code, stage, count(*) AS images, min(uri) AS example,
       any_value(message) AS message
FROM all_failures
GROUP BY run_date, category, code, stage;

CREATE OR REPLACE VIEW worst_images AS
SELECT s.run_date, s.category, s.image_id, s.uri, s.score, s.threshold, s.is_anomalous, s.position,
       s.top_description, round(m.area / (s.width::BIGINT * s.height), 4) AS masked_share, s.n_boxes
FROM scores AS s LEFT JOIN masks AS m USING (run, category, image_id)
QUALIFY row_number() OVER (PARTITION BY s.run_date, s.category ORDER BY s.score DESC, s.image_id) <= 10;

CREATE OR REPLACE VIEW descriptions AS
SELECT category, top_description, count(*) AS images,
       round(count(*) / sum(count(*)) OVER (PARTITION BY category), 4) AS share,
       avg(top_similarity) AS similarity
FROM scores
WHERE is_anomalous AND top_description IS NOT NULL
GROUP BY category, top_description;
