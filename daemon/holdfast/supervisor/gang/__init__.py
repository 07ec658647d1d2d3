"""Several machines that train one model together: their supervisors' parts."""
