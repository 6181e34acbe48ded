-- Volume fund: of each week the log of the dollars traded a day, of the return for each dollar (Amihud 2002), and the
-- largest day beside the mean one.
WITH days AS (
  SELECT
    CAST(ticker AS VARCHAR) AS entity, CAST(date AS DATE) AS day, date_trunc('week', CAST(date AS DATE)) AS week,
    CAST(close AS DOUBLE) * volume AS traded,
    abs(ln(CAST(close AS DOUBLE) / lag(CAST(close AS DOUBLE)) OVER (PARTITION BY ticker ORDER BY date))) AS move
  FROM read_parquet('${data}/ohlcv.parquet')
  WHERE close > 0
)
SELECT
  entity,
  max(day) AS period,
  ln(nullif(avg(traded), 0)) AS dollars,
  ln(nullif(avg(move / nullif(traded, 0)), 0)) AS impact,
  max(traded) / nullif(avg(traded), 0) AS burst
FROM days
GROUP BY entity, week
HAVING count(*) >= 3
ORDER BY entity, period
