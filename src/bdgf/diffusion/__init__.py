"""The multimodal diffusion model: schedule, denoiser, masking, pre-training, dense features."""
