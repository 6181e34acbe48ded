-- Range fund: log of the mean daily distance between high and low, over five windows.
WITH market AS (
  SELECT
    CAST(date AS DATE) AS day,
    row_number() OVER (ORDER BY date) AS d,
    max(CAST(date AS DATE)) OVER (PARTITION BY date_trunc('week', CAST(date AS DATE))) AS week_end
  FROM (SELECT DISTINCT date FROM read_parquet('${data}/ohlcv.parquet'))
),
spans AS (
  SELECT
    CAST(ticker AS VARCHAR) AS entity, day, d, day = week_end AS stamp,
    -- a few rows have no high or low, or a high below the low
    CASE WHEN high >= low AND low > 0 THEN ln(CAST(high AS DOUBLE) / CAST(low AS DOUBLE)) END AS span
  FROM read_parquet('${data}/ohlcv.parquet') AS raw JOIN market ON CAST(raw.date AS DATE) = market.day
),
means AS (
  SELECT
    entity, day, stamp,
    CASE WHEN count(span) OVER w5 >= 4 THEN avg(span) OVER w5 END AS m5,
    CASE WHEN count(span) OVER w21 >= 16 THEN avg(span) OVER w21 END AS m21,
    CASE WHEN count(span) OVER w63 >= 50 THEN avg(span) OVER w63 END AS m63,
    CASE WHEN count(span) OVER w126 >= 100 THEN avg(span) OVER w126 END AS m126,
    CASE WHEN count(span) OVER w252 >= 201 THEN avg(span) OVER w252 END AS m252
  FROM spans
  WINDOW
    w5 AS (PARTITION BY entity ORDER BY d RANGE BETWEEN 4 PRECEDING AND CURRENT ROW),
    w21 AS (PARTITION BY entity ORDER BY d RANGE BETWEEN 20 PRECEDING AND CURRENT ROW),
    w63 AS (PARTITION BY entity ORDER BY d RANGE BETWEEN 62 PRECEDING AND CURRENT ROW),
    w126 AS (PARTITION BY entity ORDER BY d RANGE BETWEEN 125 PRECEDING AND CURRENT ROW),
    w252 AS (PARTITION BY entity ORDER BY d RANGE BETWEEN 251 PRECEDING AND CURRENT ROW)
)
SELECT
  entity,
  day AS period,
  ln(nullif(m5, 0)) AS rng_5, ln(nullif(m21, 0)) AS rng_21, ln(nullif(m63, 0)) AS rng_63,
  ln(nullif(m126, 0)) AS rng_126, ln(nullif(m252, 0)) AS rng_252
FROM means
WHERE stamp
ORDER BY entity, period
