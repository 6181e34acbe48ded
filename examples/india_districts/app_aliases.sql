-- How this party spells districts, and the name the consortium agreed on. Applied at the party, before alignment.
SELECT raw_state || '|' || raw_district AS alias, entity_id AS entity
FROM read_csv('${data}/truth_crosswalk.csv')
WHERE source = 'pulse'
