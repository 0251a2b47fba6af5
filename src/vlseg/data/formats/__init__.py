"""Other layouts than ours, read where they lie and written: LViT's, COCO, nnU-Net's raw one."""
