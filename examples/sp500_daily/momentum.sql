-- Momentum fund: log price change over five windows, and its size whatever the direction.
-- A window is named by its length in market days (RANGE), so a ticker that was not traded then gives NULL.
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
moves AS (
  SELECT
    *,
    l - first_value(l) OVER (PARTITION BY entity ORDER BY d RANGE BETWEEN 5 PRECEDING AND 5 PRECEDING) AS mom_5,
    l - first_value(l) OVER (PARTITION BY entity ORDER BY d RANGE BETWEEN 21 PRECEDING AND 21 PRECEDING) AS mom_21,
    l - first_value(l) OVER (PARTITION BY entity ORDER BY d RANGE BETWEEN 63 PRECEDING AND 63 PRECEDING) AS mom_63,
    l - first_value(l) OVER (PARTITION BY entity ORDER BY d RANGE BETWEEN 126 PRECEDING AND 126 PRECEDING) AS mom_126,
    l - first_value(l) OVER (PARTITION BY entity ORDER BY d RANGE BETWEEN 252 PRECEDING AND 252 PRECEDING) AS mom_252
  FROM prices
)
SELECT
  entity,
  day AS period,
  mom_5, mom_21, mom_63, mom_126, mom_252,
  abs(mom_5) AS move_5, abs(mom_21) AS move_21, abs(mom_63) AS move_63,
  abs(mom_126) AS move_126, abs(mom_252) AS move_252
FROM moves
WHERE stamp
ORDER BY entity, period
