"""What people type to find a node, and the node of this pack that they should see first."""

# Words that are in the node's name, which every ComfyUI looks at; and others, which only newer ones find, by the aliases.
WORDS = {
    "en": {
        "MagicBokehLensBlur": (
            ["bokeh", "depth of field", "lens"],
            ["blur background", "background blur", "tilt shift", "miniature", "dof", "swirly bokeh", "donut bokeh"],
        ),
        "MagicBokehDefocusMap": (["focus"], ["autofocus"]),
        "MagicBokehCamera": (["camera", "f-stop", "focal length"], ["f-number", "aperture in f-stops", "hyperfocal distance"]),
        "MagicBokehPortraitPhoto": (["portrait"], ["portrait mode"]),
        "MagicBokehSampler": ([], ["refocus"]),
    },
    "zh": {
        "MagicBokehLensBlur": (["虚化", "背景虚化", "景深", "散景", "镜头"], ["移轴", "微缩", "旋焦"]),
        "MagicBokehDefocusMap": (["对焦"], ["焦点"]),
        "MagicBokehCamera": (["相机", "光圈值", "焦距"], ["超焦距"]),
        "MagicBokehPortraitPhoto": (["人像模式"], []),
        "MagicBokehSampler": ([], ["重新对焦"]),
    },
    "ja": {
        "MagicBokehLensBlur": (["ボケ", "背景ぼかし", "被写界深度", "レンズ"], ["チルトシフト", "ミニチュア", "ぐるぐるボケ"]),
        "MagicBokehDefocusMap": (["ピント"], []),
        "MagicBokehCamera": (["カメラ", "焦点距離"], ["過焦点距離"]),
        "MagicBokehPortraitPhoto": (["ポートレート"], []),
        "MagicBokehSampler": ([], ["リフォーカス"]),
    },
}
