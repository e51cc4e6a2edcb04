-- Which descriptions win on pictures that count as anomalous, and how often. In: `runs`, a glob of
-- outputs.
SELECT category, top_description, count(*) AS pictures,
       round(count(*) / sum(count(*)) OVER (PARTITION BY category), 4) AS share,
       avg(top_similarity) AS similarity
FROM read_parquet(getvariable('runs') || '/scores/**/*.parquet', hive_partitioning = true, union_by_name = true)
WHERE is_anomalous AND top_description IS NOT NULL
GROUP BY category, top_description
ORDER BY category, pictures DESC, top_description;
