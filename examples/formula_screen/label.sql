-- Label: log of the mean absolute daily log return over the week after, known when that week is over.
-- In the universe is what was traded in the week that ends.
WITH days AS (
  SELECT
    CAST(ticker AS VARCHAR) AS entity, CAST(date AS DATE) AS day, date_trunc('week', CAST(date AS DATE)) AS week,
    abs(ln(CAST(close AS DOUBLE) / lag(CAST(close AS DOUBLE)) OVER (PARTITION BY ticker ORDER BY date))) AS move
  FROM read_parquet('${data}/ohlcv.parquet')
  WHERE close > 0
),
weeks AS (
  SELECT
    entity, week, max(day) AS period,
    CASE WHEN count(move) >= 3 THEN ln(nullif(avg(move), 0)) END AS moved
  FROM days
  GROUP BY entity, week
)
SELECT
  now.entity,
  now.period,
  ahead.moved AS label,
  -- the Friday of the week after; a week that is not over when the data ends comes after it
  CAST(now.week AS DATE) + 11 AS label_available_at,
  true AS in_universe
FROM weeks AS now LEFT JOIN weeks AS ahead ON ahead.entity = now.entity AND ahead.week = now.week + INTERVAL 7 DAY
ORDER BY now.entity, now.period
