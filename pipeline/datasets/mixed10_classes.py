"""The sixty ImageNet classes of Mixed-10, six for each superclass (Lin et al., 2020).

The grouping is `mixed_10` of the robustness library with `balanced=True`. An index is the rank of a class's WordNet
id among the thousand of ILSVRC-2012.
"""

# superclass -> (index, WordNet id, name)
MIXED10: dict[str, tuple[tuple[int, str, str], ...]] = {
    "dog": (
        (151, "n02085620", "Chihuahua"),
        (152, "n02085782", "Japanese spaniel"),
        (153, "n02085936", "Maltese dog"),
        (154, "n02086079", "Pekinese"),
        (155, "n02086240", "Shih-Tzu"),
        (156, "n02086646", "Blenheim spaniel"),
    ),
    "bird": (
        (7, "n01514668", "cock"),
        (8, "n01514859", "hen"),
        (9, "n01518878", "ostrich"),
        (10, "n01530575", "brambling"),
        (11, "n01531178", "goldfinch"),
        (12, "n01532829", "house finch"),
    ),
    "insect": (
        (300, "n02165105", "tiger beetle"),
        (301, "n02165456", "ladybug"),
        (302, "n02167151", "ground beetle"),
        (303, "n02168699", "long-horned beetle"),
        (304, "n02169497", "leaf beetle"),
        (305, "n02172182", "dung beetle"),
    ),
    "monkey": (
        (370, "n02484975", "guenon"),
        (371, "n02486261", "patas"),
        (372, "n02486410", "baboon"),
        (373, "n02487347", "macaque"),
        (374, "n02488291", "langur"),
        (375, "n02488702", "colobus"),
    ),
    "car": (
        (407, "n02701002", "ambulance"),
        (436, "n02814533", "beach wagon"),
        (468, "n02930766", "cab"),
        (511, "n03100240", "convertible"),
        (609, "n03594945", "jeep"),
        (627, "n03670208", "limousine"),
    ),
    "feline": (
        (286, "n02125311", "cougar"),
        (287, "n02127052", "lynx"),
        (288, "n02128385", "leopard"),
        (289, "n02128757", "snow leopard"),
        (290, "n02128925", "jaguar"),
        (291, "n02129165", "lion"),
    ),
    "truck": (
        (555, "n03345487", "fire engine"),
        (569, "n03417042", "garbage truck"),
        (675, "n03796401", "moving van"),
        (717, "n03930630", "pickup"),
        (734, "n03977966", "police van"),
        (864, "n04461696", "tow truck"),
    ),
    "fruit": (
        (948, "n07742313", "Granny Smith"),
        (984, "n11879895", "rapeseed"),
        (987, "n12144580", "corn"),
        (988, "n12267677", "acorn"),
        (989, "n12620546", "hip"),
        (990, "n12768682", "buckeye"),
    ),
    "fungus": (
        (991, "n12985857", "coral fungus"),
        (992, "n12998815", "agaric"),
        (993, "n13037406", "gyromitra"),
        (994, "n13040303", "stinkhorn"),
        (995, "n13044778", "earthstar"),
        (996, "n13052670", "hen-of-the-woods"),
    ),
    "boat": (
        (472, "n02951358", "canoe"),
        (554, "n03344393", "fireboat"),
        (576, "n03447447", "gondola"),
        (625, "n03662601", "lifeboat"),
        (814, "n04273569", "speedboat"),
        (914, "n04612504", "yawl"),
    ),
}
