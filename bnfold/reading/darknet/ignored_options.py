"""Options that darknet reads and that inference has no use for, each with the reason; everything else unknown
is reported.

A row: (sections, fork that alone reads it or None, reason, options). "*" stands for every layer.
"""

from __future__ import annotations

from ...records import dataclass
from .dialects import Fork

AA, PJ = Fork.ALEXEYAB, Fork.PJREDDIE
_BOXES = "yolo yolo4 Gaussian_yolo region detection"


@dataclass(frozen=True)
class Reason:
    """Why an option is dropped, and the fork that alone reads it (None: both)."""

    why: str
    fork: Fork | None


ROWS: tuple[tuple[str, Fork | None, str, str], ...] = (
    ("*", None, "training", "onlyforward stopbackward learning_rate"),
    ("*", PJ, "training", "truth smooth"),
    ("*", PJ, "writing weights", "dontsave"),
    ("*", AA, "training", "clip dont_update burnin_update train_only_bn"),
    (
        "net",
        None,
        "training",
        "learning_rate momentum decay adam B1 B2 eps policy power step steps scale scales gamma "
        "burn_in max_batches",
    ),
    (
        "net",
        None,
        "training: darknet's prediction runs one picture (or one sequence) at a time",
        "batch subdivisions",
    ),
    ("net", None, "augmentation", "max_crop min_crop angle aspect saturation exposure hue"),
    ("net", PJ, "augmentation", "max_ratio min_ratio center"),
    ("net", PJ, "training", "random notruth"),
    (
        "net",
        AA,
        "training",
        "learning_rate_min sgdr_cycle sgdr_mult seq_scales track augment_speed "
        "sequential_subdivisions try_fix_nan"
        " weights_reject_freq equidistant_point badlabels_rejection_percentage "
        "num_sigmas_reject_badlabels ema_alpha loss_scale"
        " dynamic_minibatch unsupervised label_smooth_eps resize_step attention adversarial_lr max_chart_loss"
        " contrastive contrastive_jit_flip contrastive_color",
    ),
    (
        "net",
        AA,
        "memory and scheduling",
        "use_cuda_graph optimized_memory workspace_size_limit_MB show_receptive_field",
    ),
    ("net", AA, "augmentation", "blur gaussian_noise mixup cutmix mosaic mosaic_bound"),
    ("net", None, "augmentation; only AlexeyAB's code reads it, but many cfgs of both carry it", "flip"),
    ("net", AA, "pre-processing, outside of the network", "letter_box"),
    ("convolutional", None, "only the training of binary nets", "dot"),
    (
        "convolutional",
        AA,
        "training",
        "assisted_excitation sway rotate stretch stretch_sway angle grad_centr reverse",
    ),
    ("convolutional", AA, "how bits are packed in memory", "bin_output"),
    ("convolutional route", AA, "scheduling on the GPU", "stream wait_stream"),
    (
        "conv_lstm",
        AA,
        "training, and the CPU code applies tanh whatever it says",
        "time_normalizer lstm_activation",
    ),
    ("maxpool", AA, "training on the GPU", "maxpool_zero_nonmax"),
    ("dropout", None, "dropout is the identity at inference", "probability"),
    (
        "dropout",
        AA,
        "dropout is the identity at inference",
        "dropblock dropblock_size_rel dropblock_size_abs",
    ),
    ("implicit", AA, "initial values", "mean std"),
    ("crop", None, "augmentation", "flip angle saturation exposure shift"),
    ("softmax", None, "loss", "noloss"),
    ("cost", None, "loss", "type scale ratio"),
    ("cost", PJ, "loss", "noobj thresh"),
    (
        "contrastive",
        AA,
        "loss",
        "classes yolo_layer temperature cls_normalizer max_delta contrastive_neg_max",
    ),
    (_BOXES, None, "augmentation", "jitter random"),
    (_BOXES, AA, "augmentation", "resize"),
    (_BOXES, None, "how many truths a picture may have", "max"),
    ("yolo yolo4 Gaussian_yolo region", None, "names of classes, for evaluation", "map"),
    ("yolo yolo4 Gaussian_yolo", None, "loss", "ignore_thresh truth_thresh"),
    (
        "yolo yolo4 Gaussian_yolo",
        AA,
        "loss",
        "max_delta counters_per_class label_smooth_eps objectness_smooth iou_normalizer obj_normalizer"
        " cls_normalizer delta_normalizer uc_normalizer iou_loss iou_thresh_kind iou_thresh",
    ),
    ("yolo yolo4 Gaussian_yolo", AA, "non-maximum suppression, outside of the network", "beta_nms nms_kind"),
    (
        "yolo yolo4 Gaussian_yolo",
        None,
        "beta1 of a loss; no darknet reads it, published cfgs carry it",
        "beta1",
    ),
    ("yolo yolo4", AA, "loss", "focal_loss"),
    ("yolo yolo4", AA, "messages", "show_details"),
    (
        "yolo yolo4",
        AA,
        "tracking, outside of the network",
        "track_history_size sim_thresh dets_for_track dets_for_show track_ciou_norm embedding_layer",
    ),
    (
        "region",
        None,
        "loss",
        "log sqrt rescore thresh classfix absolute coord_scale object_scale noobject_scale "
        "mask_scale class_scale"
        " bias_match",
    ),
    ("region", AA, "loss", "focal_loss"),
    ("detection", None, "loss", "rescore coord_scale forced object_scale noobject_scale class_scale reorg"),
)

_TABLE = {
    (section, option): Reason(why, fork)
    for sections, fork, why, options in ROWS
    for section in sections.split()
    for option in options.split()
}


def ignored(section: str, option: str) -> Reason | None:
    """Why this option of this section is dropped, None when it is not known."""
    return _TABLE.get((section, option)) or (_TABLE.get(("*", option)) if section != "net" else None)
