-- Label of the northern lender: growth of its districts' bank credit over four quarters, and the universe, which the
-- quarter before decides: offices that moved little, so that no district was split or merged.
WITH names AS (
  SELECT raw_state, raw_district, entity_id FROM read_csv('${data}/truth_crosswalk.csv')
  WHERE source = 'rbi' AND split_part(entity_id, '|', 1) IN (
    'chandigarh', 'delhi', 'haryana', 'himachal pradesh', 'jk', 'punjab', 'rajasthan',
    'uttar pradesh', 'uttarakhand'
  )
),
quarters AS (
  SELECT entity_id, year * 4 + q - 1 AS t, ln(sum(offices)) AS offices, ln(sum(credit)) AS credit
  FROM read_csv('${data}/bank_rbi_quarterly.csv.gz') AS raw
  JOIN names ON names.raw_state = raw.state AND names.raw_district = raw.district
  GROUP BY ALL
),
described AS (
  SELECT *, credit - first_value(credit) OVER back4 AS label,
    abs(offices - first_value(offices) OVER back4) < 0.12
      AND abs(offices - first_value(offices) OVER back1) < 0.08 AS steady
  FROM quarters
  WINDOW
    back1 AS (PARTITION BY entity_id ORDER BY t RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
    back4 AS (PARTITION BY entity_id ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING)
)
SELECT now.entity_id AS entity, last_day(make_date(now.t // 4, (now.t % 4) * 3 + 3, 1)) AS period,
  now.label, coalesce(before.steady, false) AS in_universe
FROM described AS now
LEFT JOIN described AS before ON before.entity_id = now.entity_id AND before.t = now.t - 1
ORDER BY entity, period
