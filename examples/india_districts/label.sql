-- Label: growth of a district's bank credit over four quarters, and the universe in which it is predicted.
-- The universe of a quarter is decided by the quarter before it, so it is known at the cutoff; a district
-- whose label never comes is in it all the same.
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
    sum(deposit) AS deposit,
    ln(sum(credit)) AS credit
  FROM spelled
  GROUP BY entity_id, t
),
latest AS (SELECT entity_id, arg_max(spelling, t) AS entity FROM spelled GROUP BY entity_id),
described AS (
  SELECT
    *,
    credit - first_value(credit) OVER back4 AS label,
    abs(offices - first_value(offices) OVER back4) < 0.12
      AND abs(offices - first_value(offices) OVER back1) < 0.08
      AND percent_rank() OVER (PARTITION BY t ORDER BY deposit) > 0.25 AS steady
  FROM quarters
  WINDOW
    back1 AS (PARTITION BY entity_id ORDER BY t RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
    back4 AS (PARTITION BY entity_id ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING)
),
grid AS (
  SELECT entity_id, t FROM quarters
  UNION
  SELECT entity_id, t + 1 FROM quarters WHERE t < (SELECT max(t) FROM quarters)
)
SELECT
  latest.entity,
  last_day(make_date(grid.t // 4, (grid.t % 4) * 3 + 3, 1)) AS period,
  now.label,
  coalesce(before.steady, false) AS in_universe
FROM grid
JOIN latest USING (entity_id)
LEFT JOIN described AS now ON now.entity_id = grid.entity_id AND now.t = grid.t
LEFT JOIN described AS before ON before.entity_id = grid.entity_id AND before.t = grid.t - 1
ORDER BY entity, period
