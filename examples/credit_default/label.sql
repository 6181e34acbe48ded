-- One row a card holder: whether the next payment is defaulted on.
SELECT id AS entity, CAST(y AS INTEGER) AS label
FROM read_csv('${data}/default_credit_hetero_guest.csv.gz', all_varchar = true)
