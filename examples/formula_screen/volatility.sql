-- Volatility fund, its own columns: log of the mean absolute daily log return over a week, a month and a year.
WITH days AS (
  SELECT
    CAST(ticker AS VARCHAR) AS entity, CAST(date AS DATE) AS day, date_trunc('week', CAST(date AS DATE)) AS week,
    abs(ln(CAST(close AS DOUBLE) / lag(CAST(close AS DOUBLE)) OVER (PARTITION BY ticker ORDER BY date))) AS move
  FROM read_parquet('${data}/ohlcv.parquet')
  WHERE close > 0
),
weeks AS (
  SELECT entity, max(day) AS period, avg(move) AS move FROM days GROUP BY entity, week HAVING count(move) >= 3
)
SELECT
  entity,
  period,
  ln(nullif(move, 0)) AS vol,
  ln(nullif(avg(move) OVER (own ROWS BETWEEN 3 PRECEDING AND CURRENT ROW), 0)) AS vol_month,
  ln(nullif(avg(move) OVER (own ROWS BETWEEN 51 PRECEDING AND CURRENT ROW), 0)) AS vol_year
FROM weeks
WINDOW own AS (PARTITION BY entity ORDER BY period)
ORDER BY entity, period
