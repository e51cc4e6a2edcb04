-- Population stability index of the scores of each night against all earlier nights of the category,
-- in ten bins of equal counts of the earlier ones: above 0.1 something moved, above 0.25 look at it.
-- In: `runs`, a glob of outputs.
WITH scores AS (
  SELECT run_date, category, score
  FROM read_parquet(getvariable('runs') || '/scores/**/*.parquet', hive_partitioning = true, union_by_name = true)
), nights AS (
  SELECT DISTINCT run_date, category FROM scores
), edges AS (
  SELECT n.run_date, n.category, count(*) AS earlier,
         quantile_cont(s.score, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS edges
  FROM nights AS n JOIN scores AS s ON s.category = n.category AND s.run_date < n.run_date
  GROUP BY ALL
), binned AS (
  SELECT e.run_date, e.category, s.run_date = e.run_date AS tonight,
         len(list_filter(e.edges, lambda edge: edge < s.score)) AS bin
  FROM edges AS e JOIN scores AS s ON s.category = e.category AND s.run_date <= e.run_date
), shares AS (
  SELECT run_date, category, bin.bin,
         -- Half a picture more in each bin, so that empty ones have a logarithm.
         (count(*) FILTER (b.tonight AND b.bin = bin.bin) + 0.5) / (count(*) FILTER (b.tonight) + 5) AS tonight,
         (count(*) FILTER (NOT b.tonight AND b.bin = bin.bin) + 0.5) / (count(*) FILTER (NOT b.tonight) + 5) AS earlier
  FROM binned AS b CROSS JOIN range(10) AS bin(bin)
  GROUP BY ALL
)
SELECT run_date, category, sum((tonight - earlier) * ln(tonight / earlier)) AS psi
FROM shares
GROUP BY run_date, category
ORDER BY run_date, category;
