-- Digital payments per district and quarter: level, ticket size, growth over one, four and eight quarters.
WITH logs AS (
  SELECT
    state || '|' || district AS entity,
    year * 4 + q - 1 AS t,
    ln(tx_amount) AS amount,
    ln(tx_count) AS payments
  FROM read_csv('${data}/payments_phonepe_quarterly.csv.gz')
  WHERE tx_amount > 0 AND tx_count > 0
),
growth AS (
  SELECT
    *,
    amount - first_value(amount) OVER back1 AS pay_g1,
    amount - first_value(amount) OVER back4 AS pay_g4,
    amount - first_value(amount) OVER back8 AS pay_g8,
    payments - first_value(payments) OVER back4 AS pay_c4
  FROM logs
  WINDOW
    back1 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
    back4 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING),
    back8 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 8 PRECEDING AND 8 PRECEDING)
)
SELECT
  entity,
  last_day(make_date(t // 4, (t % 4) * 3 + 3, 1)) AS period,
  amount AS pay_l,
  amount - payments AS pay_tk,
  pay_g4,
  pay_c4,
  pay_g4 - pay_c4 AS pay_tk4,
  pay_g1,
  pay_g4 - first_value(pay_g4) OVER (
    PARTITION BY entity ORDER BY t RANGE BETWEEN 2 PRECEDING AND 2 PRECEDING
  ) AS pay_acc,
  pay_g8
FROM growth
ORDER BY entity, period
