-- Tape fund: of each week its log return, the share of it made overnight, the share of days that rose, and the largest
-- daily move beside the mean one. Windows over weeks are made at home ([party.terminals]).
WITH days AS (
  SELECT
    CAST(ticker AS VARCHAR) AS entity, CAST(date AS DATE) AS day, date_trunc('week', CAST(date AS DATE)) AS week,
    ln(CAST(close AS DOUBLE) / lag(CAST(close AS DOUBLE)) OVER own) AS r,
    ln(CAST(open AS DOUBLE) / lag(CAST(close AS DOUBLE)) OVER own) AS night
  FROM read_parquet('${data}/ohlcv.parquet')
  WHERE close > 0 AND open > 0
  WINDOW own AS (PARTITION BY ticker ORDER BY date)
)
SELECT
  entity,
  max(day) AS period,
  sum(r) AS ret,
  sum(abs(night)) / nullif(sum(abs(r)), 0) AS overnight,
  avg(CASE WHEN r > 0 THEN 1.0 ELSE 0.0 END) AS up_days,
  max(abs(r)) / nullif(avg(abs(r)), 0) AS jump
FROM days
WHERE r IS NOT NULL
GROUP BY entity, week
HAVING count(*) >= 3
ORDER BY entity, period
