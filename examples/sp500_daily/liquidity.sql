-- Liquidity fund: log of the mean dollar volume, and of the mean return per dollar traded (Amihud 2002), two windows each.
WITH market AS (
  SELECT
    CAST(date AS DATE) AS day,
    row_number() OVER (ORDER BY date) AS d,
    max(CAST(date AS DATE)) OVER (PARTITION BY date_trunc('week', CAST(date AS DATE))) AS week_end
  FROM (SELECT DISTINCT date FROM read_parquet('${data}/ohlcv.parquet'))
),
prices AS (
  SELECT
    CAST(ticker AS VARCHAR) AS entity, day, d, day = week_end AS stamp, ln(CAST(close AS DOUBLE)) AS l,
    CAST(close AS DOUBLE) * volume AS dollars
  FROM read_parquet('${data}/ohlcv.parquet') AS raw JOIN market ON CAST(raw.date AS DATE) = market.day
),
traded AS (
  SELECT
    *,
    abs(l - first_value(l) OVER (PARTITION BY entity ORDER BY d RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING))
      / nullif(dollars, 0) AS impact
  FROM prices
),
means AS (
  SELECT
    entity, day, stamp,
    CASE WHEN count(dollars) OVER w21 >= 16 THEN avg(dollars) OVER w21 END AS d21,
    CASE WHEN count(dollars) OVER w126 >= 100 THEN avg(dollars) OVER w126 END AS d126,
    CASE WHEN count(impact) OVER w21 >= 16 THEN avg(impact) OVER w21 END AS i21,
    CASE WHEN count(impact) OVER w126 >= 100 THEN avg(impact) OVER w126 END AS i126
  FROM traded
  WINDOW
    w21 AS (PARTITION BY entity ORDER BY d RANGE BETWEEN 20 PRECEDING AND CURRENT ROW),
    w126 AS (PARTITION BY entity ORDER BY d RANGE BETWEEN 125 PRECEDING AND CURRENT ROW)
)
SELECT
  entity,
  day AS period,
  ln(nullif(d21, 0)) AS dollar_21, ln(nullif(d126, 0)) AS dollar_126,
  ln(nullif(i21, 0)) AS amihud_21, ln(nullif(i126, 0)) AS amihud_126
FROM means
WHERE stamp
ORDER BY entity, period
