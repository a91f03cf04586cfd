"""The plan of the demonstration set: its architectures, those held out, and which scene each shows."""

ARCHITECTURES: dict[str, str] = {
    "camera_a_bilinear": "real",
    "camera_b_gradient": "real",
    "camera_c_directional": "real",
    "camera_d_colour_difference": "real",
    "ganlike_transposed42_lsgan": "gan_generated",
    "ganlike_transposed32_hinge": "gan_generated",
    "ganlike_nearest_lsgan": "gan_generated",
    "ganlike_bilinear_hinge": "gan_generated",
    "ganlike_twostage_nonsaturating": "gan_generated",
    "ganlike_pixelshuffle_lsgan": "gan_generated",
    "dmlike_epsilon_ddim": "dm_generated",
    "dmlike_epsilon_ancestral": "dm_generated",
    "dmlike_velocity_ddim": "dm_generated",
    "dmlike_latent_ddim": "dm_generated",
    "dmlike_flow_euler": "dm_generated",
}

# Held out of every split; named before any complete model was trained on the set.
UNSEEN: tuple[str, ...] = (
    "camera_d_colour_difference",
    "ganlike_pixelshuffle_lsgan",
    "dmlike_flow_euler",
)

SCENES_OF_UNSEEN = 5  # every fifth scene is shown by unseen architectures only


def shown_by(scene: int) -> dict[str, str]:  # nature -> architecture
    """Which architectures show a scene; over sixty seen scenes, all combinations come equally."""
    turn, place = divmod(scene, SCENES_OF_UNSEEN)
    if place == SCENES_OF_UNSEEN - 1:
        return {ARCHITECTURES[name]: name for name in UNSEEN}
    rank = turn * (SCENES_OF_UNSEEN - 1) + place
    chosen = {}
    for nature in ("real", "gan_generated", "dm_generated"):
        names = [a for a, n in ARCHITECTURES.items() if n == nature and a not in UNSEEN]
        chosen[nature] = names[rank % len(names)]
    return chosen
