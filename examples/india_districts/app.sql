-- App engagement per district and quarter: registered users and how often they open the app.
WITH logs AS (
  SELECT
    state || '|' || district AS entity,
    year * 4 + q - 1 AS t,
    ln(registered_users) AS users,
    -- the source reports no app opens before 2019Q2: zero there means missing
    ln(nullif(app_opens, 0)) - ln(registered_users) AS opens
  FROM read_csv('${data}/app_phonepe_quarterly.csv.gz')
  WHERE registered_users > 0
)
SELECT
  entity,
  last_day(make_date(t // 4, (t % 4) * 3 + 3, 1)) AS period,
  users AS app_l,
  opens AS app_o,
  users - first_value(users) OVER back4 AS app_g4,
  opens - first_value(opens) OVER back4 AS app_o4,
  users - first_value(users) OVER back1 AS app_g1,
  users - first_value(users) OVER back8 AS app_g8
FROM logs
WINDOW
  back1 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
  back4 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING),
  back8 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 8 PRECEDING AND 8 PRECEDING)
ORDER BY entity, period
