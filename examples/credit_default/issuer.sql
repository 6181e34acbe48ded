-- The issuer's own columns: bills and payments of six months, standardised in the source.
SELECT id AS entity, CAST(COLUMNS('x\d+') AS DOUBLE)
FROM read_csv('${data}/default_credit_hetero_guest.csv.gz', all_varchar = true)
