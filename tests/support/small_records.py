"""The 16 records of the small Show-o case: captions, questions and sizes.

Questions have TIFA's form. Their choices have different numbers of tokens, as
real ones do: a byte-level BPE gives one to six tokens to a choice.
"""

import dataclasses
import random

# record: split | file | size | colour mode | caption
# question:   ? element type | question | right answer | other choices
_TEXT = """
inputs | bench.jpg | 640x480 | RGB | A weathered wooden bench stands under a gnarled oak tree beside a gravel footpath.
? object | what is under the oak tree? | a wooden bench | a bicycle | a picnic table | nothing
? color | what color is the bench? | brown | dark blue | red | white
? spatial | where is the bench? | on the left of the tree | behind it | in front of it | on the right of the tree
? counting | how many benches are there? | 1 | 2 | 3 | 10
inputs | corgi.jpg | 640x427 | RGB | Two corgis chase a frisbee.
? animal/human | what animals chase the frisbee? | corgis | German shepherds | cats | sheep
? counting | how many corgis are there? | two | one | three | twenty-one
? activity | are the corgis running? | yes | no
inputs | lighthouse.jpg | 427x640 | RGB | A red-and-white striped lighthouse overlooks a stormy, grey sea while seagulls circle its lantern room at dusk.
? object | what overlooks the sea? | a lighthouse | an offshore oil platform | a castle | a pier
? color | what color are the stripes? | red and white | black and yellow | blue | green
? attribute | is the sea calm? | no | yes
? animal/human | what circles the lantern room? | seagulls | bats | a helicopter | moths
inputs | kitchen.png | 500x375 | RGB | A kitchen's marble countertop holds a stainless-steel kettle, three avocados and an unopened jar of Grandma's marmalade.
? counting | how many avocados are there? | 3 | 12 | 0 | 1
? material | what is the countertop made of? | marble | stainless steel | plywood | tile
? food | whose marmalade is it? | Grandma's | the neighbour's | nobody's
? spatial | is the jar open? | no | yes
inputs | castle.jpg | 1456x816 | RGB | Ultra-detailed cinematic concept art of a crystalline castle floating above a bioluminescent archipelago, volumetric moonlight, swirling nebulae, intricate baroque filigree, shimmering aurora, octane render, shallow depth of field, trending on an art website, 8k wallpaper.
? object | what floats above the archipelago? | a crystalline castle | a pirate ship | an airship | a whale
? attribute | what kind of light is there? | moonlight | candlelight | neon | broad daylight
? location | where is the castle? | above an archipelago | in a desert | under the sea
? color | is it night? | yes | no
inputs | portrait.jpg | 928x1232 | RGB | Studio portrait of an elderly fisherman in a mustard-yellow raincoat, rain droplets on his silver beard.
? animal/human | who is in the portrait? | an elderly fisherman | a ballerina | a child | two sailors
? color | what color is the raincoat? | mustard yellow | navy | red | transparent
? attribute | what color is his beard? | silver | jet-black | ginger
? counting | how many people are there? | one | two | more than five
inputs | raccoon.png | 1024x1024 | RGB | An oil painting of a raccoon wearing a hat made of roses in front of floral wallpaper.
? animal/human | what animal wears the hat? | a raccoon | a red panda | a fox | an otter
? material | what is the hat made of? | roses | straw | felt | aluminium foil
? object | what is behind the raccoon? | wallpaper | a bookshelf | trees
? attribute | is this a photograph? | no | yes
inputs | station.jpg | 640x480 | L | Black-and-white photograph of commuters hurrying through a cavernous railway station beneath an ornate clock.
? location | where are the commuters? | in a railway station | at the beach | in a supermarket | at home
? object | what hangs above the commuters? | a clock | a chandelier | flags
? color | is the photograph in color? | no | yes
inputs | tulips.jpg | 640x427 | CMYK | Rows of magenta tulips stretch towards a windmill near Zaandam.
? object | what stands behind the tulips? | a windmill | a barn | a church steeple | skyscrapers
? color | what color are the tulips? | magenta | yellow | off-white | dark purple
? location | which town is near? | Zaandam | Rotterdam | Kyoto
? counting | is there only one windmill? | yes | no
inputs | mug.png | 500x375 | RGBA | A chipped enamel mug full of steaming cocoa sits on a stack of second-hand paperbacks.
? object | what is in the mug? | cocoa | black coffee | pencils | soup
? spatial | where is the mug? | on a stack of paperbacks | on the floor | next to a laptop | in a sink
? attribute | is the mug chipped? | yes | no
? material | what is the mug made of? | enamel | glass | porcelain
held_out | skateboard.jpg | 480x640 | rotated | A teenager in ripped jeans kickflips a skateboard down a graffiti-covered stairwell.
? activity | what does the teenager do? | skateboarding | swimming | reading a newspaper | sleeping
? object | what covers the stairwell? | graffiti | ivy | posters | snow
? attribute | are the jeans ripped? | yes | no
held_out | zebras.jpg | 640x427 | RGB | Four zebras drink at a muddy waterhole while an oxpecker perches on the nearest one's back.
? counting | how many zebras are there? | 4 | 7 | 2 | 40
? animal/human | what perches on the zebra's back? | an oxpecker | a monkey | a butterfly | nothing
? activity | what do the zebras do? | drink | gallop | sleep under acacias
held_out | umbrella.jpg | 427x640 | RGB | A polka-dot umbrella leans against a turquoise door in an Andalusian alley.
? object | what leans against the door? | an umbrella | a broomstick | a surfboard | a bike
? color | what color is the door? | turquoise | maroon | black | light grey
? spatial | where is the umbrella? | in front of the door | inside the house | on the roof
held_out | robot.jpg | 1456x816 | RGB | Isometric illustration of a tiny rust-coloured robot repotting succulents inside a geodesic greenhouse, pastel palette, soft shadows.
? animal/human | who repots the succulents? | a robot | a gardener | children
? location | where is the robot? | inside a greenhouse | on the Moon | in a factory | in an office building
? attribute | how large is the robot? | tiny | gigantic | as tall as a house
? color | is the robot rust-coloured? | yes | no
held_out | dumplings.png | 928x1232 | RGB | Overhead view of bamboo steamers brimming with translucent shrimp dumplings, chopsticks and a saucer of chilli oil.
? food | what is in the steamers? | shrimp dumplings | rice | spaghetti | pancakes
? material | what are the steamers made of? | bamboo | stainless steel | clay
? counting | how many saucers are there? | one | two | three | none
held_out | bridge.jpg | 1024x1024 | RGB | Fog rolls beneath a vermilion suspension bridge at sunrise; sailboats drift below.
? object | what is above the fog? | a suspension bridge | an aeroplane | a cable car | mountains
? color | what color is the bridge? | vermilion | green | grey-blue | black
? attribute | what time of day is it? | sunrise | noon | midnight
? object | what drifts below? | sailboats | icebergs | ducks
"""


@dataclasses.dataclass(frozen=True)
class Record:
  """One image with its caption and questions.

  Attributes:
    name: the record's id.
    file: of the image, with its suffix.
    size: (width, height) of the image as a viewer shows it, in pixels.
    mode: Pillow's colour mode, or 'rotated' for a JPEG whose EXIF data says
      that a viewer must turn it.
    caption: of the image.
    questions: TIFA records, choices in a shuffled order.
  """

  name: str
  file: str
  size: tuple[int, int]
  mode: str
  caption: str
  questions: list[dict]


def splits() -> dict[str, list[Record]]:
  """Returns the records of `inputs` and of `held_out`."""
  records = {'inputs': [], 'held_out': []}
  record = None
  for line in _TEXT.strip().splitlines():
    fields = [field.strip() for field in line.lstrip('?').split('|')]
    if line.startswith('?'):
      record.questions.append(_question(record, *fields))
      continue
    split, file, size, mode, caption = fields
    width, height = map(int, size.split('x'))
    name = file.partition('.')[0]
    record = Record(name, file, (width, height), mode, caption, [])
    records[split].append(record)
  return records


def _question(record, kind, question, answer, *others):
  choices = [answer, *others]
  # Strings seed `random` alike in every process.
  random.Random(record.name + question).shuffle(choices)
  return {
    'id': record.name,
    'caption': record.caption,
    'element': answer,
    'question': question,
    'choices': choices,
    'answer': answer,
    'element_type': kind,
  }
