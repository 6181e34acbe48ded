-- Label: log of the mean absolute daily log return over the 21 market days after the week's last one, known when
-- the last of them is over. In the universe is what was traded on the week's last day.
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
ahead AS (
  SELECT
    entity, day, d, stamp,
    CASE WHEN count(r) OVER month = 21 THEN ln(nullif(avg(abs(r)) OVER month, 0)) END AS label
  FROM returns
  WINDOW month AS (PARTITION BY entity ORDER BY d RANGE BETWEEN 1 FOLLOWING AND 21 FOLLOWING)
)
SELECT
  entity,
  ahead.day AS period,
  label,
  -- a label that is not over when the data ends comes after it
  coalesce(over.day, ahead.day + 35) AS label_available_at,
  true AS in_universe
FROM ahead LEFT JOIN market AS over ON over.d = ahead.d + 21
WHERE stamp
ORDER BY entity, period
