SELECT entity, period, label FROM read_csv('${data}/labels.csv')
