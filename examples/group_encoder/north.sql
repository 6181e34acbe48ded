SELECT entity, period, balance, spend, arrears, visits FROM read_csv('${data}/north.csv')
