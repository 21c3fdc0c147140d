"""`dagcache monitoring`: the Grafana dashboard and the alert rules that the package ships."""
