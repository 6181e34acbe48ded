-- Range fund: of each week the log of the mean distance between high and low, where in it the days closed, and how
-- uneven the distances were. A few rows have no high or low, or a high below the low.
WITH days AS (
  SELECT
    CAST(ticker AS VARCHAR) AS entity, CAST(date AS DATE) AS day, date_trunc('week', CAST(date AS DATE)) AS week,
    ln(CAST(high AS DOUBLE) / CAST(low AS DOUBLE)) AS span,
    (CAST(close AS DOUBLE) - low) / nullif(CAST(high AS DOUBLE) - low, 0) AS place
  FROM read_parquet('${data}/ohlcv.parquet')
  WHERE high >= low AND low > 0
)
SELECT
  entity,
  max(day) AS period,
  ln(nullif(avg(span), 0)) AS span,
  avg(place) AS location,
  stddev_samp(span) / nullif(avg(span), 0) AS span_uneven
FROM days
GROUP BY entity, week
HAVING count(*) >= 3
ORDER BY entity, period
