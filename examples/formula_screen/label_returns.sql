-- Label: log return over the week after, known when that week is over.
-- In the universe is what was traded in the week that ends.
WITH weeks AS (
  SELECT
    CAST(ticker AS VARCHAR) AS entity, date_trunc('week', CAST(date AS DATE)) AS week,
    max(CAST(date AS DATE)) AS period, ln(CAST(arg_max(close, date) AS DOUBLE)) AS l
  FROM read_parquet('${data}/ohlcv.parquet')
  WHERE close > 0
  GROUP BY ticker, date_trunc('week', CAST(date AS DATE))
)
SELECT
  now.entity,
  now.period,
  ahead.l - now.l AS label,
  -- the Friday of the week after; a week that is not over when the data ends comes after it
  CAST(now.week AS DATE) + 11 AS label_available_at,
  true AS in_universe
FROM weeks AS now LEFT JOIN weeks AS ahead ON ahead.entity = now.entity AND ahead.week = now.week + INTERVAL 7 DAY
ORDER BY now.entity, now.period
