"""Cross-model diffusion features: our method with features or a denoiser from elsewhere.

The names of such methods and where what they take lies (:mod:`~bdgf.bench.cross_model.sources`),
how it is made ready for a case (:mod:`~bdgf.bench.cross_model.taking`), and another library's
U-Net (:mod:`~bdgf.bench.cross_model.unet`).
"""
