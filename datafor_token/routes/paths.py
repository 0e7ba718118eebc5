"""The two paths under which the documented product has its calls."""

MODELER = "/plugin/datafor-modeler/api"
EXTENSION = "/plugin/datafor/api/extension"
