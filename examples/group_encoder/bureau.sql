SELECT entity, period, rating FROM read_csv('${data}/bureau.csv')
