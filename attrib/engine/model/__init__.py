"""Any callable as a function of rows: what it is made of, whether its rows are independent, how it is called."""
