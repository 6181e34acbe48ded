SELECT entity, period, "index" AS score FROM read_csv('${data}/fund.csv')
