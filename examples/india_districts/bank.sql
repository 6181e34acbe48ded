-- The bank's own features per district and quarter. The source renames districts and moves them
-- between states, and for a few quarters lists one district under its old and its new name: spellings of
-- one district are added up, and the row carries its latest spelling, which the alias table knows.
WITH spelled AS (
  SELECT
    entity_id,
    state || '|' || district AS spelling,
    year * 4 + q - 1 AS t,
    offices, deposit, credit
  FROM read_csv('${data}/bank_rbi_quarterly.csv.gz') AS bank
  JOIN read_csv('${data}/truth_crosswalk.csv') AS names
    ON names.source = 'rbi' AND names.raw_state = bank.state AND names.raw_district = bank.district
),
quarters AS (
  SELECT
    entity_id,
    t,
    ln(sum(offices)) AS offices,
    ln(sum(deposit)) AS deposit,
    ln(sum(credit)) AS credit
  FROM spelled
  GROUP BY entity_id, t
),
latest AS (SELECT entity_id, arg_max(spelling, t) AS entity FROM spelled GROUP BY entity_id)
SELECT
  latest.entity,
  last_day(make_date(t // 4, (t % 4) * 3 + 3, 1)) AS period,
  deposit AS bnk_ld,
  offices AS bnk_off,
  credit - deposit AS bnk_cd,
  offices - first_value(offices) OVER (
    PARTITION BY entity_id ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING
  ) AS bnk_goff4
FROM quarters JOIN latest USING (entity_id)
ORDER BY entity, period
