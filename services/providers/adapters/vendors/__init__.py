"""The vendors: one small file each, naming where it is, how one gets in and in which dialect it speaks."""
