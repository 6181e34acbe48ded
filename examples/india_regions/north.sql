-- Columns of the northern lender: its own districts' bank figures of the quarter before, which are out by the cutoff, and
-- payments of the quarter itself. The other lenders' files differ in the states alone.
WITH names AS (
  SELECT source, raw_state, raw_district, entity_id FROM read_csv('${data}/truth_crosswalk.csv')
  WHERE split_part(entity_id, '|', 1) IN (
    'chandigarh', 'delhi', 'haryana', 'himachal pradesh', 'jk', 'punjab', 'rajasthan',
    'uttar pradesh', 'uttarakhand'
  )
),
bank AS (
  SELECT entity_id, year * 4 + q - 1 AS t, ln(sum(offices)) AS offices, ln(sum(deposit)) AS deposit,
    ln(sum(credit)) AS credit
  FROM read_csv('${data}/bank_rbi_quarterly.csv.gz') AS raw
  JOIN names ON names.source = 'rbi' AND names.raw_state = raw.state AND names.raw_district = raw.district
  GROUP BY ALL
),
banked AS (
  SELECT entity_id, t + 1 AS t, deposit AS bnk_ld, offices AS bnk_off, credit - deposit AS bnk_cd,
    offices - first_value(offices) OVER back4 AS bnk_goff4,
    credit - first_value(credit) OVER back4 AS bnk_gc4
  FROM bank
  WINDOW back4 AS (PARTITION BY entity_id ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING)
),
paid AS (
  SELECT entity_id, year * 4 + q - 1 AS t, ln(sum(tx_amount)) AS amount, ln(sum(tx_count)) AS payments
  FROM read_csv('${data}/payments_phonepe_quarterly.csv.gz') AS raw
  JOIN names ON names.source = 'pulse' AND names.raw_state = raw.state AND names.raw_district = raw.district
  WHERE tx_amount > 0 AND tx_count > 0
  GROUP BY ALL
),
spent AS (
  SELECT entity_id, t, amount AS pay_l, amount - payments AS pay_tk,
    amount - first_value(amount) OVER back4 AS pay_g4,
    payments - first_value(payments) OVER back4 AS pay_c4
  FROM paid
  WINDOW back4 AS (PARTITION BY entity_id ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING)
)
SELECT entity_id AS entity, last_day(make_date(t // 4, (t % 4) * 3 + 3, 1)) AS period,
  bnk_ld, bnk_off, bnk_cd, bnk_goff4, bnk_gc4, pay_l, pay_tk, pay_g4, pay_c4
FROM banked FULL JOIN spent USING (entity_id, t)
ORDER BY entity, period
