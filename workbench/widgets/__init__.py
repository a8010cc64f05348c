"""Parts for a notebook that answer to the mouse: behaviour in plain classes, views apart.

The modules whose classes do something (:mod:`~workbench.widgets.transfer`, …) know nothing of
Jupyter; the views, made with ipywidgets and anywidget, lay out, forward and paint. What a widget
found is in Python (``app.results``), never in the front end alone.
"""
