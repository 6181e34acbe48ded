-- The bureau's columns: limit, person and repayment status, standardised in the source.
SELECT id AS entity, CAST(COLUMNS('x\d+') AS DOUBLE)
FROM read_csv('${data}/default_credit_hetero_host.csv.gz', all_varchar = true)
