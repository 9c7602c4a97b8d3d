"""Label files of every kind to class codes on a scene's grid."""
