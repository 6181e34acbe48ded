-- Volatility fund, its own features: log standard deviation of daily log returns over five windows.
-- A window of k market days needs returns on four fifths of them.
WITH market AS (
  SELECT
    CAST(date AS DATE) AS day,
    row_number() OVER (ORDER BY date) AS d,
    max(CAST(date AS DATE)) OVER (PARTITION BY date_trunc('week', CAST(date AS DATE))) AS week_end
  FROM (SELECT DISTINCT date FROM read_parquet('${data}/ohlcv.parquet'))
),
prices AS (
  SELECT CAST(ticker AS VARCHAR) AS entity, day, d, day = week_end AS stamp, ln(CAST(close AS DOUBLE)) AS l
  FROM read_parquet('${data}/ohlcv.parquet') AS raw JOIN market ON CAST(raw.date AS DATE) = market.day
),
returns AS (
  SELECT
    *, l - first_value(l) OVER (PARTITION BY entity ORDER BY d RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING) AS r
  FROM prices
),
spreads AS (
  SELECT
    entity, day, stamp,
    CASE WHEN count(r) OVER w5 >= 4 THEN stddev_samp(r) OVER w5 END AS s5,
    CASE WHEN count(r) OVER w21 >= 16 THEN stddev_samp(r) OVER w21 END AS s21,
    CASE WHEN count(r) OVER w63 >= 50 THEN stddev_samp(r) OVER w63 END AS s63,
    CASE WHEN count(r) OVER w126 >= 100 THEN stddev_samp(r) OVER w126 END AS s126,
    CASE WHEN count(r) OVER w252 >= 201 THEN stddev_samp(r) OVER w252 END AS s252
  FROM returns
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
  ln(nullif(s5, 0)) AS vol_5, ln(nullif(s21, 0)) AS vol_21, ln(nullif(s63, 0)) AS vol_63,
  ln(nullif(s126, 0)) AS vol_126, ln(nullif(s252, 0)) AS vol_252
FROM spreads
WHERE stamp
ORDER BY entity, period
